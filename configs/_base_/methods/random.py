# Half of what all levels P2 to P5 cost. Give it the mean distill_cost that the
# policy's run logged.
random = dict(
    selector=dict(_delete_=True, type='mmrlkd.RandomSelector', cost=3.75))
