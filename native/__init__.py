"""The compiled data plane: what moves every byte. Typed stubs stand beside each module."""
