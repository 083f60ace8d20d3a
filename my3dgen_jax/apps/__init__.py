"""Applications of a generator, one or two functions each.

One file for each application; what several need, or what is large, is a
package of its own: `rendering`, `reports`, `preparation`, `evaluation`,
`viewer`. What `edit`, `enhance` and `personalize` are made of is in `editing`,
`enhancement` and `personalization`. Imports everything but `demo` and
`launch`.
"""
