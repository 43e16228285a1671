# SPDX-License-Identifier: Apache-2.0
# Makes containerd know the container images in folder $1, and pins them: the kubelet spares what is
# pinned when a disk fills up, and no registry could give it back. Run before the kubelet starts.
set -eu
export CONTAINERD_NAMESPACE=k8s.io

for archive in "$1"/*.tar; do
    ctr images import "$archive"
done

# What the build found in the archives; a name has no blank.
brought=$(cat "$1/names")

# An image that an older version of the machine brought is as any other now. `ctr images import` has
# no --label before 2.0, so labels come after.
for name in $(ctr images ls --quiet labels.kiln==brought); do
    for other in $brought; do
        [ "$name" != "$other" ] || continue 2
    done
    ctr images label "$name" kiln= io.cri-containerd.pinned=
done

for name in $brought; do
    ctr images label "$name" kiln=brought io.cri-containerd.pinned=pinned
done
