# GRPO: four episodes for each image are each other's baseline. A batch holds four
# times the episodes, so one batch makes an update.
_base_ = './ppo.py'
method = dict(
    model=dict(
        selector=dict(
            rollout_batches=1,
            learner=dict(_delete_=True, type='mmrlkd.GRPO', group_size=4))))
