"""The shipped recipes, and the choice among them.

automatic.py   which recipe, with which settings, fits a data set and a machine
*.toml         sal, accurate, edge, student, paper, tiny, and the systems of Table 1 (docs/recipes.md)
"""
