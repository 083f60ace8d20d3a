"""What one does with a generator: each application a function or two.

One file for each application; what several need, or what is large, is a
package of its own: `rendering`, `reports`, `preparation`, `evaluation`,
`viewer`. Imports everything but `demo` and `launch`.
"""
