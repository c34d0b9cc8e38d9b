# GRPO: four episodes for each image are each other's baseline. A batch holds four
# times the episodes, so one batch makes an update.
_base_ = './ppo.py'
model = dict(
    selector=dict(
        rollout_batches=1, learner=dict(type='mmrlkd.GRPO', group_size=4)))
