import steps
from hamilton import driver

driver.Builder().with_modules(steps).with_cache().build().execute(["five"])
