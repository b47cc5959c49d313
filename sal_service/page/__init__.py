"""The page that people search with: one document, its style and its script inside, for one answer of the service.

page.py    puts the document together, and says what it may do (Content-Security-Policy)
index.html what is always there
style.css  how it looks, light and dark, down to the width of a phone
script/    what it does; `page.SCRIPTS` says in which order the files become one module
"""
