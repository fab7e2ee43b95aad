"""`python -m towpath.dht DESCRIPTOR`: the node starts this; nobody else has such a descriptor."""

import sys

from towpath.dht.child import main

if __name__ == "__main__":
    main(int(sys.argv[1]))
