"""Caffe's nets, weights, solvers and their states."""
