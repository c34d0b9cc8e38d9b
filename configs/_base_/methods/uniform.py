# All levels with equal weights, for the whole run: the usual pyramid KD.
custom_imports = dict(imports=['mmrlkd'], allow_failed_imports=False)
selector = dict(type='mmrlkd.UniformSelector')
custom_hooks = [dict(type='mmrlkd.SeedHook')]
model_wrapper_cfg = dict(type='mmrlkd.DistillDataParallel')
