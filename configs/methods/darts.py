# DARTS-LS, by tools/search.py: student and subset are trained together; the student
# is thrown away, and the subset that was found is trained anew.
_base_ = './uniform.py'
method = dict(
    model=dict(selector=dict(_delete_=True, type='mmrlkd.DARTSSelector')),
    custom_hooks=[
        dict(type='mmrlkd.SeedHook'),
        dict(
            type='mmrlkd.PhaseHook',
            phases=[
                dict(name='pretrain', share=0.35),
                dict(name='search', share=0.65),
            ]),
    ],
    search=dict(then='uniform'))
