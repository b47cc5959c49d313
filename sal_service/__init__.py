"""What a service around the runtime is made of.

video/      cameras and files into a gallery of people
galleries/  galleries that are asked, filled and taken over by another bundle, all at once
governance/ who may do what, for how long images are kept, and the log of all of it
watches/    standing queries, and where their messages go
page/       the page to search with
api/        all of it over HTTP
client.py   the service from Python
memory.py   how much of it the process keeps
toml_file.py files of settings
"""
