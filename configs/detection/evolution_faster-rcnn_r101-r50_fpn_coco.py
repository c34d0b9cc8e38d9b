# EA-LS: a population of 20 for 100 generations; of the 2000 candidates only those
# not met before are trained, at most 15 with four levels.
_base_ = './exhaustive_faster-rcnn_r101-r50_fpn_coco.py'
search = dict(
    strategy=dict(
        _delete_=True, type='mmrlkd.EvolutionSearch', population=20,
        generations=100))
