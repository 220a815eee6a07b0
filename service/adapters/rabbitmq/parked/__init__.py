"""The parked queue as people use it: looking without harm, publishing again, discarding."""
