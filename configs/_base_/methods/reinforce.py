reinforce = dict(
    selector=dict(learner=dict(_delete_=True, type='mmrlkd.REINFORCE')))
