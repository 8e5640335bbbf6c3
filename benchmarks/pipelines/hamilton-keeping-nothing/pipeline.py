import steps
from hamilton import driver

driver.Builder().with_modules(steps).build().execute(["five"])
