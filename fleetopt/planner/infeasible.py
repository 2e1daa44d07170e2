def explain(problem):
    raise NotImplementedError
