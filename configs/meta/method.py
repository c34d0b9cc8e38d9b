# The policy whose weights fit any pyramid, on-line: what configs/meta/ learns over
# tasks, and what a run adapts. One reward for all tasks, or their policies would be
# judged by different things; its unit is what the best subset gains, in each task.
_base_ = '../methods/expected_reward.py'
method = dict(
    model=dict(
        selector=dict(
            policy=dict(
                _delete_=True, type='mmrlkd.TokenPolicy', width=16, hidden=32,
                layers=1),
            reward=dict(_delete_=True, type='mmrlkd.AlignmentReward'))))
