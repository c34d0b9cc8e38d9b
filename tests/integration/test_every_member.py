"""Everything that chooses levels trains, and resumes bit for bit."""

import pytest

from mmrlkd.registry import LEARNERS, SELECTORS

for registry in SELECTORS, LEARNERS:
    registry.import_from_location()

LSTM = dict(type='mmrlkd.LSTMPolicy', hidden=16)


def policy(**kwargs):
    return dict(
        type='mmrlkd.PolicySelector', policy=LSTM, rollout_batches=1, **kwargs)


def control(name):
    return dict(type='mmrlkd.ControlSelector', control=name, selector=policy())


EXACT = dict(type='mmrlkd.ExpectedReward', batch_size=4)


MEMBERS = {
    'none': dict(type='mmrlkd.NoneSelector'),
    'uniform': dict(type='mmrlkd.UniformSelector'),
    'manual deep': dict(type='mmrlkd.ManualDeepSelector'),
    'manual shallow': dict(type='mmrlkd.ManualShallowSelector'),
    'fixed': dict(type='mmrlkd.FixedSelector', levels=['P4']),
    'random': dict(type='mmrlkd.RandomSelector', cost=3.0),
    'gated': dict(
        type='mmrlkd.GatedSelector',
        gate=dict(type='mmrlkd.MLPPolicy', hidden=16)),
    'group': dict(
        type='mmrlkd.GroupSelector', descriptor='objects', edges=[3.5],
        rates=[[0, 0, 0.5, 1], [1, 0.5, 0, 0]]),
    'all that is known': policy(context=[
        'objects', 'object_size', 'crowding', 'teacher_confidence',
        'teacher_entropy', 'teacher_detections', 'discrepancy']),
    'greedy': dict(type='mmrlkd.GreedySelector'),
    'PPO': policy(),
    'one step': policy(horizon=1),
    'quality only': policy(
        reward=dict(type='mmrlkd.ResidualReward', efficiency=0.0)),
    'greedy policy': policy(
        greedy=True, learner=dict(type='mmrlkd.PPO', gamma=0.0)),
    'GRPO': policy(learner=dict(type='mmrlkd.GRPO', group_size=2)),
    'expected reward': policy(learner=EXACT),
    'mean cost': policy(learner=EXACT, mean_cost=1.5, horizon=1),
    'mean cost, PPO': policy(mean_cost=1.5),
    'worth': policy(
        learner=EXACT, mean_cost=2.0, horizon=1, context=['objects'],
        reward=dict(
            type='mmrlkd.WorthReward', signal='teacher_detections',
            level_values=dict(P2=1.0, P3=0.6, P4=0.4, P5=0.2))),
    'worth of groups': policy(reward=dict(
        type='mmrlkd.GroupWorthReward', descriptor='objects', edges=[3.5],
        worth=[[0.1, 0.2, 0.3, 0.4], [4.0, 3.0, 2.0, 1.0]])),
    'shuffled': control('shuffled'),
    'opposite': control('opposite'),
    'same rates': control('rates'),
    'REINFORCE': policy(learner=dict(type='mmrlkd.REINFORCE')),
    'tokens': dict(
        type='mmrlkd.PolicySelector', rollout_batches=1,
        policy=dict(type='mmrlkd.TokenPolicy', hidden=16, width=8)),
    'DARTS': dict(type='mmrlkd.DARTSSelector', lr=0.05),
    'DARTS, second order': dict(
        type='mmrlkd.DARTSSelector', lr=0.05, order=2),
    'GDAS': dict(type='mmrlkd.GDASSelector', lr=0.05),
}


def test_every_registered_selector_and_learner_is_trained():
    for family, used in (
        (SELECTORS, {m['type'] for m in MEMBERS.values()}),
        (LEARNERS, {m['learner']['type'] for m in MEMBERS.values()
                    if 'learner' in m} | {'mmrlkd.PPO'}),
    ):
        there = {f'mmrlkd.{name}' for name, member
                 in family.module_dict.items()
                 if member.__module__.startswith('mmrlkd.')}
        assert there == used


@pytest.mark.parametrize('name', MEMBERS)
def test_three_iterations_and_a_resume(
        name, search_config, run_config, train, leave, state_of, assert_same,
        logged, tmp_path):
    member = MEMBERS[name]
    searches = 'DARTS' in name or 'GDAS' in name
    build = search_config if searches else run_config
    if name == 'none':  # there are no phases without a teacher
        settings = dict(validate=False, phases=None, train_cfg=dict(
            type='mmrlkd.SeededIterBasedTrainLoop', max_iters=3))
    else:
        settings = dict(validate=False, total=3, phases=[
            # Policies learn while all levels are distilled, too.
            dict(name='pretrain', share=1 / 3, learn_every=1),
            dict(name='search', share=2 / 3)])
    whole = train(build(selector=member, name='whole', **settings))
    lines = logged(tmp_path / 'whole')
    assert len(lines) == 3
    assert all(line['skipped_updates'] == 0 for line in lines)
    assert ('distill_cost' in lines[-1]) == (name != 'none')
    leave(tmp_path / 'killed', tmp_path / 'whole', 'iter_2')
    resumed = train(
        build(selector=member, name='killed', **settings), resume=True)
    assert_same(state_of(whole), state_of(resumed))
