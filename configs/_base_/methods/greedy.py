# LAD: the levels whose loss is worth their cost.
greedy = dict(
    selector=dict(
        _delete_=True, type='mmrlkd.GreedySelector', efficiency=0.5))
