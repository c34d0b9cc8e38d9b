# What a config that distils adds to its library's own, whatever the method; see
# docs/configs.md. Under one name, so that it can stand beside any base.
distillation = dict(
    custom_imports=dict(imports=['mmrlkd'], allow_failed_imports=False),
    default_hooks=dict(checkpoint=dict(type='mmrlkd.DistillCheckpointHook')),
    model_wrapper_cfg=dict(type='mmrlkd.DistillDataParallel'),
    # Scalars that a log shows as the mean of its window, not as the last value.
    log_processor=dict(
        mean_pattern=(
            r'.*(loss|time|grad_norm|levels_per_image|distill|select|reward|'
            r'descriptor|updates_student|policy_entropy).*')),
    randomness=dict(seed=0))  # resuming draws from the same seeds
