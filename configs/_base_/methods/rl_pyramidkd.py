# RL-PyramidKD: PPO chooses the levels of each image, in three phases.
custom_imports = dict(imports=['mmrlkd'], allow_failed_imports=False)
selector = dict(
    type='mmrlkd.PolicySelector',
    horizon=4,
    policy=dict(type='mmrlkd.LSTMPolicy'),
    reward=dict(type='mmrlkd.ResidualReward', efficiency=0.5),
    learner=dict(type='mmrlkd.PPO'))
custom_hooks = [
    dict(type='mmrlkd.SeedHook'),
    dict(
        type='mmrlkd.PhaseHook',
        phases=[
            dict(name='pretrain', length=10),
            dict(name='policy', length=20),
            dict(name='finetune', length=10),
        ]),
    dict(type='mmrlkd.PolicyHealthHook'),
]
model_wrapper_cfg = dict(type='mmrlkd.DistillDataParallel')
randomness = dict(seed=0)  # resuming draws from the same seeds
# Scalars that a log shows as the mean of its window, not as the last value.
mean_pattern = (
    r'.*(loss|time|grad_norm|levels_per_image|distill|select/|reward|'
    r'updates_student|policy_entropy).*')
