# REINFORCE: a moving baseline in place of a critic, one gradient step an update.
_base_ = './ppo.py'
method = dict(
    model=dict(
        selector=dict(
            learner=dict(_delete_=True, type='mmrlkd.REINFORCE'))))
