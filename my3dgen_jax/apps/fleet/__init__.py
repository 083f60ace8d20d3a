"""Any number of people, made by workers on one machine or a cluster.

`manifest` says who, `queue` who is next, `worker` makes a person, `fleet` runs
it all over an `Executor`, and `states` and `table` say how far it is. Only
`ray_executor` imports Ray, and only when it starts.
"""
