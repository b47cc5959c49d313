"""Programs that are run by hand or by make.

convert_osnet.py      makes weights of a backbone from the published files of a re-identification network
convert_peer.py       makes ONNX from the published files of the network that benchmarks/peer_attributes.py measures
gpu_checks/           checks that need an NVIDIA GPU, recorded as JSON
install_service.sh    installs what `sal serve` needs; deploy/Dockerfile.* run it
make_bundle.sh        trains and exports a published bundle
make_demo_gallery.py  cuts the demo crops out of a video
lowest_versions.py    the lowest version that is accepted of every package
prepare_system.sh     checks, or as root installs, the system packages that make needs
release/              the wheel, the source distribution, and what goes to a box without a network
"""
