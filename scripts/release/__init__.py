"""What a release is made of, and what goes to a box without a network.

distributions.py  the wheel and the source distribution of a commit, the same bytes wherever they are built
wheelhouse.py     everything that `pip install` needs, in one folder: wheels, hashes, licences, an SBOM
application.py    the same as a folder that Python runs, for a box without pip
bill.py           what wheels say of themselves: licences, and the bill of materials (SBOM)
resolution.py     every extra resolves on each supported Python, with the lowest and the newest versions
"""
