// Package options checks what programs configure.
package options

import (
	"fmt"
	"reflect"
	"slices"
)

// NotNegative returns an error that names the first exported number below 0 in a struct, but for those in except.
func NotNegative(options any, except ...string) error {
	v := reflect.ValueOf(options)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		below := v.Field(i).CanInt() && v.Field(i).Int() < 0 || v.Field(i).CanFloat() && v.Field(i).Float() < 0
		if below && field.IsExported() && !slices.Contains(except, field.Name) {
			return fmt.Errorf("%s is %v; want 0, for the default, or more", field.Name, v.Field(i))
		}
	}
	return nil
}
