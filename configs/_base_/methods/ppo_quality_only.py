# λ = 0: economy earns nothing.
ppo_quality_only = dict(selector=dict(reward=dict(efficiency=0.0)))
