# The likeliest subset at each step, and no look ahead.
ppo_greedy = dict(
    selector=dict(greedy=True, learner=dict(type='mmrlkd.PPO', gamma=0.0)))
