"""Personalizes any number of people with workers on one machine or a cluster.

`manifest` lists the people, `queue` picks the next, `worker` makes one, `fleet`
runs it all on an `Executor`, and `states` and `table` report progress. Only
`ray_executor` imports Ray, and only when it starts.
"""
