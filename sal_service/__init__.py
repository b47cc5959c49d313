"""What a service around the runtime is made of.

video/       cameras and files into a gallery of people
governance/  tokens, policy, retention and the audit log
toml_file.py TOML files that people write
video/    cameras and files into a gallery of people
watches/  tell when somebody comes who fits a description
"""
