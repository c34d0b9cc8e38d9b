"""Settings are numbered as a table's rows, and all knobs are set together."""

from contextlib import contextmanager

import pytest

from mmrlkd.dynamic.knobs import InputScale, Knob, RecordedKnob
from mmrlkd.dynamic.settings import SettingSpace


def space() -> SettingSpace:
    return SettingSpace([
        RecordedKnob('scale', (0.5, 1.0)),
        RecordedKnob('tiles', (1, 4, 9), full=0),
        RecordedKnob('blocks', ('1-1', '2-2'))])


def test_the_last_knob_varies_fastest():
    assert [space().choices(i) for i in range(4)] == [
        (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    assert space().values(11) == {'scale': 1.0, 'tiles': 9, 'blocks': '2-2'}
    assert space().describe(2) == 'scale=0.5 tiles=4 blocks=1-1'


def test_index_and_choices_are_inverse_for_all_settings():
    assert len(space()) == 12
    assert [space().index(space().choices(i)) for i in range(12)] == [*range(12)]


def test_the_full_setting_is_that_of_all_knobs():
    assert space().choices(space().full) == (1, 0, 1)


def test_a_header_gives_the_same_space():
    again = SettingSpace.from_header(space().header())
    assert (again.names, again.sizes, again.full) == (
        space().names, space().sizes, space().full)
    assert again.values(5) == space().values(5)


@pytest.mark.parametrize('knobs', [
    [], [RecordedKnob('scale', (0.5, 1)), RecordedKnob('scale', (0.5, 1))]])
def test_no_knob_and_two_of_one_name_are_refused(knobs):
    with pytest.raises(ValueError, match='at least one, and one of each'):
        SettingSpace(knobs)


def test_choices_and_settings_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match='0 to 11'):
        space().choices(12)
    with pytest.raises(ValueError, match="'tiles'; accepted: 0 to 2"):
        space().index((0, 3, 0))


def test_knobs_are_built_from_a_config():
    built = SettingSpace.build([dict(type='mmrlkd.InputScale',
                                     scales=(0.5, 1.0))])
    assert isinstance(built.knobs[0], InputScale)
    assert built.values(built.full) == {'scale': 1.0}


class Recorder(RecordedKnob):
    def __init__(self, name: str, log: list, outermost: bool) -> None:
        super().__init__(name, (1, 2))
        self.log, self.outermost = log, outermost  # type: ignore[misc]

    @contextmanager
    def set(self, choice):
        self.log.append(f'{self.name}={self.values[choice]}')
        yield
        self.log.append(f'{self.name} restored')


def test_what_cuts_the_image_is_set_around_the_others():
    log: list = []
    knobs: list[Knob] = [Recorder('tiles', log, True),
                         Recorder('scale', log, False)]
    with pytest.raises(KeyError), SettingSpace(knobs).set(0):
        raise KeyError
    # The last that is set is the outermost wrapper of what the model does.
    assert log[:2] == ['scale=1', 'tiles=1']


@pytest.mark.parametrize('setting, changed', [
    (0, ['tiles=1', 'tiles restored', 'scale=1', 'scale restored']),
    (1, ['tiles=1', 'tiles restored']), (2, ['scale=1', 'scale restored']),
    (3, [])])
def test_what_a_setting_leaves_as_it_is_is_not_set(setting, changed):
    log: list = []
    space = SettingSpace([Recorder('tiles', log, False),
                          Recorder('scale', log, False)])
    for _ in range(2):
        with space.set(setting):
            pass
    assert sorted(log) == sorted(2 * changed)


def test_a_knob_of_a_table_acts_on_no_model():
    with pytest.raises(ValueError, match='known from a table only'), \
            space().set(0):
        pass
