# The policy of RL-PyramidKD, and what every run that distils needs.
custom_imports = dict(imports=['mmrlkd'], allow_failed_imports=False)
selector = dict(
    type='mmrlkd.PolicySelector',
    horizon=4,
    policy=dict(type='mmrlkd.LSTMPolicy'),
    reward=dict(type='mmrlkd.ResidualReward', efficiency=0.5),
    learner=dict(type='mmrlkd.PPO'))
model_wrapper_cfg = dict(type='mmrlkd.DistillDataParallel')
# Scalars that a log shows as the mean of its window, not as the last value.
mean_pattern = (
    r'.*(loss|time|grad_norm|levels_per_image|distill|select|reward|'
    r'updates_student|policy_entropy).*')
