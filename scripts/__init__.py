"""Programs that are run by hand or by make.

gpu_checks/           checks that need an NVIDIA GPU, recorded as JSON
make_bundle.sh        trains and exports a published bundle
make_demo_gallery.py  cuts the demo crops out of a video
prepare_system.sh     checks, or as root installs, the system packages that make needs
"""
