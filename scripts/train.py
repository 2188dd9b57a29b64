from softpoint.cli import main

main("train")
