"""The shipped recipes, and the choice among them.

automatic.py   which recipe, with which settings, fits a data set and a machine
*.toml         sal, edge, paper, deepmar, tiny (docs/recipes.md)
"""
