"""`python -m boucle`"""

from boucle.app.start import main

if __name__ == "__main__":
    main()
