# EA-LS, by tools/search.py: a population of 20 for 100 generations; of the 2000
# candidates only those not met before are trained, at most 15 with four levels.
_base_ = './uniform.py'
method = dict(
    search=dict(
        strategy=dict(
            type='mmrlkd.EvolutionSearch', population=20, generations=100)))
