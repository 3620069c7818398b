-- wrk's request: a shopper who looked at five items of the generated sample shop.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"history": ["sku-00330", "sku-00474", "sku-00459", "sku-00057", "sku-00387"]}'
