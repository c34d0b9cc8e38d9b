darts_second_order = dict(selector=dict(order=2))
