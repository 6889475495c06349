module argo
