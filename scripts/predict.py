from softpoint.cli import main

main("predict")
