from softpoint.cli import main

main("ensemble")
