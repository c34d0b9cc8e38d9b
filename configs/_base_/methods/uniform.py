# All levels with equal weights, for the whole run: the usual pyramid KD.
custom_imports = dict(imports=['mmrlkd'], allow_failed_imports=False)
selector = dict(type='mmrlkd.UniformSelector')
custom_hooks = [dict(type='mmrlkd.SeedHook')]
model_wrapper_cfg = dict(type='mmrlkd.DistillDataParallel')
randomness = dict(seed=0)  # resuming draws from the same seeds
# Scalars that a log shows as the mean of its window, not as the last value.
mean_pattern = (
    r'.*(loss|time|grad_norm|levels_per_image|distill|select|reward|'
    r'updates_student|policy_entropy).*')
