"""The stream: one WebSocket for what changes and for orders.

`protocol` reads frames, `items` makes and shares what is sent, `hub` hands it to subscriptions when it is
durable, `outbox` is one client's bounded queue, `snapshots` is where a subscription begins, `orders` is order
entry, `session` is one connection, and `endpoint` lets it in.
"""
