"""The durable record of a shard: frames of hash-chained entries, and the adapters that keep them.

`codec` and `versions` say what the bytes mean, `base` what every adapter does alike, `memory`, `log` and
`sqlite` where the bytes live, `anchor` and `export` how a third party checks them.
"""
