# EA-LS, small: 5 generations of 4. A subset met again is not trained again.
_base_ = './exhaustive.py'
search = dict(
    strategy=dict(
        _delete_=True, type='mmrlkd.EvolutionSearch', population=4,
        generations=5))
