# REINFORCE: a moving baseline in place of a critic, one gradient step an update.
_base_ = './ppo.py'
model = dict(selector=dict(learner=dict(type='mmrlkd.REINFORCE')))
