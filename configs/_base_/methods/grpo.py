# Four episodes for each image make an update of every batch.
grpo = dict(
    selector=dict(
        rollout_batches=1,
        learner=dict(_delete_=True, type='mmrlkd.GRPO', group_size=4)))
