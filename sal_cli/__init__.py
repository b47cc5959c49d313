"""The command `sal`. It is not an API: services import `sal_runtime`.

app.py       the groups of commands, exit codes, how an error ends a command
parsing.py   what every command shares: an option that takes one value is given once, help is plain text
help_page.py the help of a command
completion.py  what a shell completes
options.py   options that several commands share, and options that cannot take effect
hints.py     the option or extra that mends an error
extras.py    what the extras of sal are for
manage.py    one call for each thing that is done to a gallery by its name
removal.py   removing images, and their files, from a gallery by its name
crop_table.py  what another pipeline knows of each image
commands/    parse options, call one function, print: one file a group
bench/       measures: `sal bench`
show/        prints and draws what was found or measured
"""
